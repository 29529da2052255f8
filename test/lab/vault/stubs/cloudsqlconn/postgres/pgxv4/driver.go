package pgxv4

import "cloud.google.com/go/cloudsqlconn"

var RegisterDriver = cloudsqlconn.RegisterDriver
