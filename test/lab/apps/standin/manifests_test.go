package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type container struct {
	Name          string
	Image         string
	Command, Args []string
	StartupProbe  struct{ Exec struct{ Command []string } } `yaml:"startupProbe"`
}

type pod struct {
	InitContainers []container `yaml:"initContainers"`
	Containers     []container
}

// The repository of an image by the placeholder that stands for it in an application's folder.
var repositories = map[string]string{
	"api IMAGE": "platform-api", "front IMAGE": "platform-front", "chatwoot IMAGE": "chatwoot", "n8n IMAGE": "n8n",
	"n8n RUNNERS_IMAGE": "runners", "superset IMAGE": "superset",
}

// What an image runs if a manifest names no command (../build).
var entryPoints = map[string][]string{
	"platform-api": {"/app/api"}, "platform-front": {"/app/front"}, "n8n": {"tini", "--", "/docker-entrypoint.sh"},
	"runners": {"tini", "--", "task-runner-launcher", "javascript", "python"},
}

var placeholder = regexp.MustCompile(`\$\{(\w+)\}`)

func TestOurManifestsStartWhatIsKnownHere(t *testing.T) {
	files, _ := filepath.Glob("../../../../manifests/06_core_apps/*/*.yaml")
	if len(files) == 0 {
		t.Fatal("no manifests found")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Base(filepath.Dir(file))
		for _, document := range strings.Split(placeholder.ReplaceAllString(string(content), "$1"), "\n---\n") {
			var object struct {
				Spec struct{ Template struct{ Spec pod } }
			}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				continue // An object without pods, of which a placeholder is a part of its structure.
			}
			template := object.Spec.Template.Spec
			for _, one := range append(template.InitContainers, template.Containers...) {
				repository := repositories[folder+" "+one.Image]
				if repository == "" {
					t.Errorf("%s: %s is no image of the stand-in", file, one.Image)
				}
				for _, command := range append(commandsOf(one, repository), one.StartupProbe.Exec.Command) {
					if len(command) == 0 || command[0] == "COMMAND" {
						continue
					}
					if _, _, err := identify(repository+":1", command, given()); err != nil {
						t.Errorf("%s, %s: %s", file, one.Name, err)
					}
				}
			}
		}
	}
}

// commandsOf gives the commands that a container runs, those of a script one by one.
func commandsOf(one container, repository string) [][]string {
	command := one.Command
	if len(command) == 0 {
		command = entryPoints[repository]
	}
	command = append(command, one.Args...)
	if len(command) != 3 || command[0] != "sh" {
		return [][]string{command}
	}
	var commands [][]string
	for _, line := range regexp.MustCompile(`&&|\n`).Split(command[2], -1) {
		words := strings.Fields(strings.ReplaceAll(line, "exec bundle", "bundle"))
		if len(words) > 0 && !slices.Contains([]string{"#", "export", "mkdir", "rm"}, words[0]) {
			commands = append(commands, words)
		}
	}
	return commands
}
