package main

import (
	"fmt"
	"os"
	"time"
)

// The real controller's default format: a letter for the level, the time, the process.
func write(level, format string, arguments ...any) {
	fmt.Printf("%s%s %7d lab] %s\n", level, time.Now().Format("20060102 15:04:05.000000"), os.Getpid(), fmt.Sprintf(format, arguments...))
}

func info(format string, arguments ...any)    { write("I", format, arguments...) }
func warn(format string, arguments ...any)    { write("W", format, arguments...) }
func failure(format string, arguments ...any) { write("E", format, arguments...) }

func fatal(format string, arguments ...any) {
	write("F", format, arguments...)
	os.Exit(255)
}
