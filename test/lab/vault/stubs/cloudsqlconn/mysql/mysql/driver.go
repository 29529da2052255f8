package mysql

import "cloud.google.com/go/cloudsqlconn"

var RegisterDriver = cloudsqlconn.RegisterDriver
