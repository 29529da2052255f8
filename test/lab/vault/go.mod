module keybuzz.io/lab/vault

go 1.26.4

require github.com/hashicorp/vault v1.21.0

// What clouds take, and no lab.
replace (
	cloud.google.com/go/cloudsqlconn => ./stubs/cloudsqlconn
	cloud.google.com/go/monitoring => ./stubs/monitoring
	github.com/google/go-metrics-stackdriver => ./stubs/go-metrics-stackdriver
	github.com/hashicorp/go-discover => ./stubs/go-discover
	github.com/hashicorp/go-kms-wrapping/wrappers/alicloudkms/v2 => ./stubs/alicloudkms
	github.com/hashicorp/go-kms-wrapping/wrappers/awskms/v2 => ./stubs/awskms
	github.com/hashicorp/go-kms-wrapping/wrappers/azurekeyvault/v2 => ./stubs/azurekeyvault
	github.com/hashicorp/go-kms-wrapping/wrappers/gcpckms/v2 => ./stubs/gcpckms
	github.com/hashicorp/go-kms-wrapping/wrappers/ocikms/v2 => ./stubs/ocikms
	github.com/hashicorp/go-secure-stdlib/plugincontainer => ./stubs/plugincontainer
	github.com/hashicorp/hcp-sdk-go => ./stubs/hcp-sdk-go
	github.com/hashicorp/vault-hcp-lib => ./stubs/vault-hcp-lib
	github.com/hashicorp/vault-plugin-auth-jwt => ./stubs/vault-plugin-auth-jwt
	github.com/okta/okta-sdk-golang/v5 => ./stubs/okta-sdk-golang
	google.golang.org/api => ./stubs/google-api
)
