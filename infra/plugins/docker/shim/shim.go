// Package shim reaches the upstream provider's internal package. Go's internal
// rule goes by import path, and this module lies under the provider's own.
package shim

import (
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// NewProvider returns the upstream Terraform provider for Docker.
func NewProvider(version string) *schema.Provider { return provider.New(version)() }
