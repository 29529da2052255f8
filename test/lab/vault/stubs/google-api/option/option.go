// Package option has what Vault takes of it, for the metrics that it does not send to Google's cloud.
package option

func WithUserAgent(string) any { return nil }
