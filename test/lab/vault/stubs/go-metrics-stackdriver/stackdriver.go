// Package stackdriver has what Vault takes of it. Without a client nothing of it is called.
package stackdriver

import (
	monitoring "cloud.google.com/go/monitoring/apiv3"
	"github.com/armon/go-metrics"
)

type Config struct {
	LabelExtractor, Bucketer       any
	ProjectID, Location, Namespace string
	DebugLogs                      bool
}

func NewSink(*monitoring.MetricClient, *Config) metrics.MetricSink { return &metrics.BlackholeSink{} }
