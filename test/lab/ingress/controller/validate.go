package main

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const classAnnotation = "kubernetes.io/ingress.class"

var (
	// nginx.org/en/docs/syntax.html
	timeValue   = regexp.MustCompile(`^(\d+y)?(\d+M)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s?)?(\d+ms)?$`)
	offsetValue = regexp.MustCompile(`^\d+[kKmMgG]?$`)
	pathValue   = regexp.MustCompile(`^/[^\s;{}"$]*$`)
)

func isTime(value string, _ *networking.Ingress) string {
	if value == "" || !timeValue.MatchString(value) {
		return "must be a time"
	}
	return ""
}

func isOffset(value string, _ *networking.Ingress) string {
	if !offsetValue.MatchString(value) {
		return "must be an offset"
	}
	return ""
}

func isBool(value string, _ *networking.Ingress) string {
	if _, err := strconv.ParseBool(value); err != nil {
		return "must be a boolean"
	}
	return ""
}

// Names are parted by a comma alone: a blank after it is part of the name, and refused.
func areServices(value string, ingress *networking.Ingress) string {
	var missing []string
	for name := range strings.SplitSeq(value, ",") {
		if !slices.ContainsFunc(backends(ingress), func(backend *networking.IngressServiceBackend) bool { return backend.Name == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return "must be a comma-separated list of services. The following services were not found: " + strings.Join(missing, ",")
	}
	return ""
}

// annotations are those that the stand-in acts on. An empty value is refused for each.
var annotations = map[string]func(string, *networking.Ingress) string{
	"nginx.org/client-max-body-size":  isOffset,
	"nginx.org/proxy-buffering":       isBool,
	"nginx.org/proxy-connect-timeout": isTime,
	"nginx.org/proxy-read-timeout":    isTime,
	"nginx.org/proxy-send-timeout":    isTime,
	"nginx.org/redirect-to-https":     isBool,
	"nginx.org/ssl-redirect":          isBool,
	"nginx.org/websocket-services":    areServices,
}

func backends(ingress *networking.Ingress) (found []*networking.IngressServiceBackend) {
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			if path.Backend.Service != nil {
				found = append(found, path.Backend.Service)
			}
		}
	}
	return found
}

// validate is strict where the real controller is: one wrong annotation, and nothing of the Ingress is served. It also
// refuses what the real one would act on and the stand-in does not, or what the real one would silently pass over.
func validate(ingress *networking.Ingress) error {
	var errors field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(ingress.Annotations)) {
		prefix, _, _ := strings.Cut(name, "/")
		value, at := ingress.Annotations[name], field.NewPath("annotations").Child(name)
		check, known := annotations[name]
		switch {
		case known && value == "":
			errors = append(errors, field.Required(at, ""))
		case known:
			if why := check(value, ingress); why != "" {
				errors = append(errors, field.Invalid(at, value, why))
			}
		case prefix == "nginx.org" || prefix == "nginx.com" || strings.HasSuffix(prefix, ".f5.com"):
			errors = append(errors, field.Forbidden(at, "the lab's stand-in does not know this annotation"))
		case prefix == "nginx.ingress.kubernetes.io":
			errors = append(errors, field.Forbidden(at, "is of another controller, and has no effect with this one"))
		}
	}

	spec, at := ingress.Spec, field.NewPath("spec")
	if spec.DefaultBackend != nil {
		errors = append(errors, field.Forbidden(at.Child("defaultBackend"), "the lab's stand-in has none"))
	}
	if len(spec.Rules) == 0 {
		errors = append(errors, field.Required(at.Child("rules"), ""))
	}
	hosts := map[string]bool{}
	for i, rule := range spec.Rules {
		at := at.Child("rules").Index(i)
		if rule.Host == "" {
			errors = append(errors, field.Required(at.Child("host"), ""))
		} else if hosts[rule.Host] {
			errors = append(errors, field.Duplicate(at.Child("host"), rule.Host))
		}
		hosts[rule.Host] = true
		if rule.HTTP == nil {
			continue
		}
		for j, path := range rule.HTTP.Paths {
			errors = append(errors, validatePath(path, at.Child("http").Child("paths").Index(j))...)
		}
	}
	return errors.ToAggregate()
}

func validatePath(path networking.HTTPIngressPath, at *field.Path) (errors field.ErrorList) {
	specific := path.PathType != nil && *path.PathType == networking.PathTypeImplementationSpecific
	switch value := path.Path; {
	case value == "" && specific:
	case value == "":
		errors = append(errors, field.Required(at.Child("path"), "path is required for Exact and Prefix PathTypes"))
	case strings.HasPrefix(value, "//") || slices.Contains(strings.Split(value, "/"), "..") || !pathValue.MatchString(value):
		errors = append(errors, field.Invalid(at.Child("path"), value, "must start with one / and hold no blank, no .. and none of ;{}\"$"))
	}
	if path.Backend.Service == nil {
		errors = append(errors, field.Forbidden(at.Child("backend"), "only service backends are supported"))
	}
	return errors
}
