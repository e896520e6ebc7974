//go:build tools

// The Helm that the chart is checked with is pinned here.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
