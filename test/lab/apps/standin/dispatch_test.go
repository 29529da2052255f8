package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func given(pairs ...string) vars {
	return func(name string) string {
		for _, pair := range pairs {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				return value
			}
		}
		return ""
	}
}

func TestTheCommandTellsTheProcess(t *testing.T) {
	for command, process := range map[string]string{
		"n8n:2.48.5 tini -- /docker-entrypoint.sh":                                        "main",
		"n8n:2.48.5 tini -- /docker-entrypoint.sh start":                                  "main",
		"n8n:2.48.5 tini -- /docker-entrypoint.sh webhook":                                "webhook",
		"n8n:2.48.5 tini -- /docker-entrypoint.sh worker --concurrency=10":                "worker",
		"n8n:2.48.5 n8n worker":                                                           "worker",
		"n8n:2.48.5 tini -- /docker-entrypoint.sh wroker":                                 "",
		"runners:2.48.5 tini -- /usr/local/bin/task-runner-launcher javascript python":    "runner",
		"chatwoot:v4.15.1-ce bundle exec rails s -p 3000 -b 0.0.0.0":                      "web",
		"chatwoot:v4.15.1-ce bundle exec sidekiq -C config/sidekiq.yml":                   "sidekiq",
		"chatwoot:v4.15.1-ce bundle exec sidekiq -C config/other.yml":                     "",
		"chatwoot:v4.15.1-ce bundle exec rails db:chatwoot_prepare":                       "prepare",
		"chatwoot:v4.15.1-ce bundle exec rails db:prepare":                                "",
		"chatwoot:v4.15.1-ce bundle exec rails runner /ruby/brand.rb":                     "runner",
		"chatwoot:v4.15.1-ce docker/entrypoints/rails.sh bundle exec rails s":             "entry point",
		"superset:6.1.0 /usr/bin/run-server.sh":                                           "web",
		"superset:6.1.0 gunicorn --bind=0.0.0.0:8088 superset.app:create_app()":           "web",
		"superset:6.1.0 celery --app=superset.tasks.celery_app:app worker -O fair -c 4":   "worker",
		"superset:6.1.0 celery --app=superset.tasks.celery_app:app beat --pidfile /tmp/p": "beat",
		"superset:6.1.0 superset db upgrade":                                              "upgrade",
		"superset:6.1.0 superset init":                                                    "init",
		"superset:6.1.0 superset fab create-admin --username admin":                       "admin",
		"platform-api:1.0.0-lab /app/api":                                                 "api",
		"platform-api:1.0.0-lab /app/migrate":                                             "migrate",
		"platform-api:1.0.0-lab /app/front":                                               "",
		"platform-front:1.0.0-lab /app/front":                                             "front",
	} {
		image, words, _ := strings.Cut(command, " ")
		me, _, err := identify("registry.example/some/"+image, strings.Fields(words), given())
		if process == "" {
			if err == nil {
				t.Errorf("%s: taken for %s", command, me)
			}
			continue
		}
		if err != nil || me.Process != process {
			t.Errorf("%s: is %v %v, not %s", command, me, err, process)
		}
	}
}

func TestArgumentsAreRead(t *testing.T) {
	me := &self{args: strings.Fields("celery -c 4 --schedule=/tmp/s --pidfile /tmp/p")}
	if me.numberIn(1, "-c", "--concurrency") != 4 || me.numberIn(7, "--other") != 7 {
		t.Error("a number is not read")
	}
	if me.argument("--schedule") != "/tmp/s" || me.argument("--pidfile") != "/tmp/p" {
		t.Error("a path is not read")
	}
}

func TestAProcessThatCannotWorkDoesNotStart(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	os.WriteFile(file, nil, 0o600)
	one := role{needs: always("A", "B", "C"), writes: func(vars) []string { return []string{folder, file} }}
	err := fit(one, &self{vars: given("B=1")}, 0)
	for _, words := range []string{"root", "not set: A, C", "cannot write into " + file} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in: %v", words, err)
		}
	}
	one.writes = nil
	if err := fit(one, &self{vars: given("A=1", "B=1", "C=1")}, 1000); err != nil {
		t.Error(err)
	}
}

func TestWhatEachNeedsDependsOnItsConfiguration(t *testing.T) {
	needs := chatwootNeeds(given("ACTIVE_STORAGE_SERVICE=s3_compatible"))
	if !slices.Contains(needs, "STORAGE_BUCKET_NAME") || !slices.Contains(needs, "POSTGRES_PASSWORD") {
		t.Error(needs)
	}
	if needs := chatwootNeeds(given("DATABASE_URL=x")); slices.Contains(needs, "POSTGRES_PASSWORD") {
		t.Error(needs)
	}
	config := filepath.Join(t.TempDir(), "superset_config.py")
	os.WriteFile(config, []byte("X = os.environ['PUBLIC_URL'] + '/'\n"), 0o600)
	if needs := supersetNeeds(given("SUPERSET_CONFIG_PATH=" + config)); !slices.Contains(needs, "PUBLIC_URL") {
		t.Error(needs)
	}
}

func TestRubyTakesNoTemporaryFolderThatEverybodyMayWriteTo(t *testing.T) {
	folder := t.TempDir()
	for mode, taken := range map[os.FileMode]bool{0o700: true, 0o777: false, 0o777 | os.ModeSticky: true} {
		os.Chmod(folder, mode)
		if (rubyCanUse(folder) == nil) != taken {
			t.Error(mode, rubyCanUse(folder))
		}
	}
	if rubyCanUse(filepath.Join(folder, "nowhere")) == nil {
		t.Error("a folder that is not there")
	}
}

func TestAScriptTellsTheVariablesThatItFailsWithout(t *testing.T) {
	script := "A = os.environ['ONE']\nB = os.environ.get('TWO', '')\nif 'THREE' in os.environ:\n    C = os.environ['THREE']\n" +
		"JSON.parse(ENV.fetch('FOUR')).each do\nENV.fetch('FIVE', nil)\n"
	if found := namesIn(script); !slices.Equal(found, []string{"FOUR", "ONE"}) {
		t.Error(found)
	}
}

func TestN8nTakesVariablesFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	os.WriteFile(file, []byte("from the file\n"), 0o600)
	me, _, err := identify("n8n:1", []string{"n8n", "start"}, given("KEY_FILE="+file, "OTHER=plain", "OTHER_FILE="+file))
	if err != nil || me.vars("KEY") != "from the file" || me.vars("OTHER") != "plain" {
		t.Error(err, me)
	}
}

func TestAPasswordMayHaveAnyCharacter(t *testing.T) {
	db, err := openPostgres(&self{}, postgresURL("10.0.0.10", "5432", "n8n", "n8n", "a+b/c@d:e %1?#"), 4)
	if err != nil {
		t.Fatal(err)
	}
	config := db.Config()
	if config.ConnConfig.Password != "a+b/c@d:e %1?#" || config.ConnConfig.Database != "n8n" || config.MaxConns != 4 {
		t.Errorf("%+v", config.ConnConfig.Password)
	}
}
