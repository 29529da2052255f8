package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// vars gives a variable of the environment.
type vars func(name string) string

func (get vars) or(name, fallback string) string {
	if value := get(name); value != "" {
		return value
	}
	return fallback
}

func (get vars) number(name string, fallback int) int {
	if number, err := strconv.Atoi(get(name)); err == nil {
		return number
	}
	return fallback
}

// orFiles also takes a variable from the file that NAME_FILE names, as n8n does.
func (get vars) orFiles() vars {
	return func(name string) string {
		if value := get(name); value != "" || get(name+"_FILE") == "" {
			return value
		}
		content, _ := os.ReadFile(get(name + "_FILE"))
		return strings.TrimSpace(string(content))
	}
}

func (get vars) missing(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return get(name) != "" })
}

func always(names ...string) func(vars) []string {
	return func(vars) []string { return names }
}

// writable says why a folder cannot be written into. It is made where it is not there, as the real ones do.
func writable(folder string) error {
	err := os.MkdirAll(folder, 0o755)
	if err == nil {
		var file *os.File
		if file, err = os.CreateTemp(folder, ".standin-*"); err == nil {
			file.Close()
			os.Remove(file.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write into %s: %w", folder, err)
	}
	return nil
}

// argument gives the value of a flag, written as --flag=value or as -f value.
func (me *self) argument(names ...string) string {
	for index, word := range me.args {
		name, value, found := strings.Cut(word, "=")
		if slices.Contains(names, name) {
			if !found && index+1 < len(me.args) {
				value = me.args[index+1]
			}
			return value
		}
	}
	return ""
}

func (me *self) numberIn(fallback int, names ...string) int {
	if number, err := strconv.Atoi(me.argument(names...)); err == nil {
		return number
	}
	return fallback
}

// namesIn gives the variables that a script of Python or Ruby fails without: os.environ['X'] and ENV.fetch('X'). Indented
// lines do not count, for they may stand under a condition.
func namesIn(script string) []string {
	var names []string
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, " ") {
			continue
		}
		for _, found := range inScripts.FindAllStringSubmatch(line, -1) {
			names = append(names, found[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var inScripts = regexp.MustCompile(`(?:os\.environ\[|ENV\.fetch\()['"](\w+)['"][\])]`)
