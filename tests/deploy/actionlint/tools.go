//go:build tools

// The actionlint that .github/workflows is checked with is pinned here.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
