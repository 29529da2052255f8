package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

type dashboard struct {
	UID        string   `json:"uid"`
	Title      string   `json:"title"`
	Tags       []string `json:"tags"`
	Schema     int      `json:"schemaVersion"`
	APIVersion string   `json:"apiVersion"`
	Panels     []panel  `json:"panels"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name       string          `json:"name"`
			Datasource json.RawMessage `json:"datasource"`
		} `json:"list"`
	} `json:"annotations"`

	file, folder string
	raw          json.RawMessage
}

type variable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Datasource json.RawMessage `json:"datasource"`
}

type panel struct {
	ID         int             `json:"id"`
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	Grid       *grid           `json:"gridPos"`
	Collapsed  bool            `json:"collapsed"`
	Datasource json.RawMessage `json:"datasource"`
	Panels     []panel         `json:"panels"`
	Targets    []struct {
		RefID      string          `json:"refId"`
		Expression string          `json:"expr"`
		Format     string          `json:"format"`
		Datasource json.RawMessage `json:"datasource"`
	} `json:"targets"`
}

type grid struct{ X, Y, W, H int }

// The panels and the variables that Grafana has without plugins.
var (
	panelTypes = strings.Fields(`alertlist annolist barchart bargauge candlestick canvas dashlist datagrid flamegraph gauge geomap
		heatmap histogram logs news nodeGraph piechart row stat state-timeline status-history table text timeseries traces trend xychart`)
	variableTypes = strings.Fields("adhoc constant custom datasource groupby interval query switch textbox")
	uidSigns      = regexp.MustCompile(`^[\w-]{1,40}$`)
)

func isUID(text string) bool { return uidSigns.MatchString(text) }

func readDashboard(file, folder string, there provisioned) (dashboard, error) {
	one := dashboard{file: file, folder: folder}
	content, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(content, &one)
	}
	if err != nil {
		return one, err
	}
	one.raw = content
	faults := one.faults(there.datasources)
	for _, other := range there.dashboards {
		if other.UID == one.UID {
			faults = append(faults, fmt.Errorf("%s has the uid %q too", other.file, one.UID))
		}
	}
	return one, errors.Join(faults...)
}

func (one dashboard) faults(sources []datasource) []error {
	var faults []error
	refuse := func(format string, words ...any) { faults = append(faults, fmt.Errorf(format, words...)) }
	if one.APIVersion != "" {
		refuse("apiVersion %s: the stand-in knows the classic schema only", one.APIVersion)
	}
	if strings.TrimSpace(one.Title) == "" {
		refuse("it has no title")
	}
	if !isUID(one.UID) {
		refuse("uid %q is empty, or has other signs than letters, digits, - and _, or more than 40", one.UID)
	}
	if one.Schema < 1 {
		refuse("it has no schemaVersion")
	}
	names := map[string]string{}
	for _, variable := range one.Templating.List {
		if variable.Name == "" || !slices.Contains(variableTypes, variable.Type) {
			refuse("variable %q is of type %q", variable.Name, variable.Type)
		}
		if _, twice := names[variable.Name]; twice {
			refuse("two variables are named %q", variable.Name)
		}
		names[variable.Name] = variable.Type
	}
	check := func(where string, reference json.RawMessage) {
		if err := fits(reference, sources, names); err != nil {
			refuse("%s: %w", where, err)
		}
	}
	for _, variable := range one.Templating.List {
		if variable.Type == "query" {
			check(fmt.Sprintf("variable %q", variable.Name), variable.Datasource)
		}
	}
	for _, annotation := range one.Annotations.List {
		check(fmt.Sprintf("annotation %q", annotation.Name), annotation.Datasource)
	}
	seen := map[int]string{}
	checkPanels(one.Panels, false, seen, refuse, check)
	return faults
}

func checkPanels(panels []panel, nested bool, seen map[int]string, refuse func(string, ...any), check func(string, json.RawMessage)) {
	for index, one := range panels {
		where := fmt.Sprintf("panel %d %q", one.ID, one.Title)
		if other, twice := seen[one.ID]; twice || one.ID < 1 {
			refuse("%s: its id is no number of its own: %q", where, other)
		}
		seen[one.ID] = one.Title
		if !slices.Contains(panelTypes, one.Type) || (nested && one.Type == "row") {
			refuse("%s: type %q", where, one.Type)
		}
		if at := one.Grid; at == nil || at.X < 0 || at.Y < 0 || at.W < 1 || at.H < 1 || at.X+at.W > 24 {
			refuse("%s: gridPos %+v is not within 24 columns", where, at)
		} else {
			for _, other := range panels[:index] {
				if other.Grid != nil && at.X < other.Grid.X+other.Grid.W && other.Grid.X < at.X+at.W &&
					at.Y < other.Grid.Y+other.Grid.H && other.Grid.Y < at.Y+at.H {
					refuse("%s lies on panel %d %q", where, other.ID, other.Title)
				}
			}
		}
		if len(one.Panels) > 0 && (one.Type != "row" || !one.Collapsed) {
			refuse("%s: only a collapsed row holds panels", where)
		}
		checkPanels(one.Panels, true, seen, refuse, check)
		if len(one.Targets) == 0 {
			continue
		}
		check(where, one.Datasource)
		letters := map[string]bool{}
		for _, target := range one.Targets {
			if target.RefID == "" || letters[target.RefID] {
				refuse("%s: refId %q is empty or there twice", where, target.RefID)
			}
			letters[target.RefID] = true
			if strings.TrimSpace(target.Expression) == "" {
				refuse("%s: target %s has no expr", where, target.RefID)
			}
			if !slices.Contains([]string{"", "time_series", "table", "heatmap"}, target.Format) {
				refuse("%s: target %s: format %q", where, target.RefID, target.Format)
			}
			if len(target.Datasource) > 0 {
				check(where, target.Datasource)
			}
		}
	}
}

// fits tells why a reference to a datasource finds none. Without one it is the default.
func fits(reference json.RawMessage, sources []datasource, variables map[string]string) error {
	var wanted struct{ UID, Type string }
	if len(reference) == 0 || string(reference) == "null" {
		if slices.ContainsFunc(sources, func(one datasource) bool { return one.IsDefault }) {
			return nil
		}
		return errors.New("it names no datasource, and none is the default")
	}
	if err := json.Unmarshal(reference, &wanted); err != nil {
		return fmt.Errorf("its datasource %s is none with a uid and a type", reference)
	}
	if name := strings.Trim(wanted.UID, "${}"); strings.HasPrefix(wanted.UID, "$") {
		if variables[name] == "datasource" {
			return nil
		}
		return fmt.Errorf("its datasource is %q, and no variable of type datasource is named so", wanted.UID)
	}
	if slices.Contains([]string{"grafana", "-- Grafana --", "-- Mixed --", "-- Dashboard --"}, wanted.UID) {
		return nil
	}
	for _, one := range sources {
		if one.UID == wanted.UID {
			if wanted.Type != "" && wanted.Type != one.Type {
				return fmt.Errorf("its datasource %q is of type %s, not %s", wanted.UID, one.Type, wanted.Type)
			}
			return nil
		}
	}
	return fmt.Errorf("its datasource %q is none that is provisioned", wanted.UID)
}
