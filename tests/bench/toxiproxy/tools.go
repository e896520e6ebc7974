//go:build tools

// What the bench builds of others is pinned here.
package tools

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
