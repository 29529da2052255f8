package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// K3s logs through logrus; what reads its journal expects this form.
func logLine(level, format string, a ...any) {
	message := fmt.Sprintf(format, a...)
	fmt.Fprintf(os.Stderr, "time=%q level=%s msg=%s\n", time.Now().Format(time.RFC3339), level, strconv.Quote(message))
}

func info(format string, a ...any)    { logLine("info", format, a...) }
func warn(format string, a ...any)    { logLine("warning", format, a...) }
func problem(format string, a ...any) { logLine("error", format, a...) }

func fatal(format string, a ...any) {
	logLine("fatal", format, a...)
	killChildren()
	os.Exit(1)
}
