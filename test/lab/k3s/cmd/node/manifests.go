package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

//go:embed packaged
var packaged embed.FS

const manifestsDir = serverDir + "/manifests"

const (
	// deployEvery: K3s, pkg/deploy/controller.go, looks every 15 seconds.
	deployEvery = 15 * time.Second
	// retryEvery is the lab's own haste: in the first seconds of a cluster not all that a manifest needs is there.
	retryEvery = time.Second
)

// stageManifests writes the packaged files anew at each start, except those that are disabled:
// docs.k3s.io/installation/packaged-components. One with a .skip beside it is written as well, and not applied.
func (c *Config) stageManifests() error {
	values, disabled := c.placeholders(), c.disabled()
	return fs.WalkDir(packaged, "packaged", func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, "packaged/")
		if err != nil || entry.IsDir() || isDisabled(name, disabled) {
			return err
		}
		content, err := packaged.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(manifestsDir, name), []byte(values.Replace(string(content))), 0o600)
	})
}

// placeholders are those of K3s: pkg/server/server.go, stageFiles.
func (c *Config) placeholders() *strings.Replacer {
	registry := c.text("system-default-registry")
	prefix := registry
	if registry != "" {
		prefix += "/"
	}
	addresses := "InternalIP,ExternalIP,Hostname"
	if c.is("flannel-external-ip") {
		addresses = "ExternalIP,InternalIP,Hostname"
	}
	return strings.NewReplacer(
		"%{CLUSTER_DNS}%", c.clusterDNS(),
		"%{CLUSTER_DNS_LIST}%", "["+c.clusterDNS()+"]",
		"%{CLUSTER_DNS_IPFAMILYPOLICY}%", "SingleStack",
		"%{CLUSTER_DOMAIN}%", c.clusterDomain(),
		"%{DEFAULT_LOCAL_STORAGE_PATH}%", c.or("default-local-storage-path", dataDir+"/storage"),
		"%{SYSTEM_DEFAULT_REGISTRY}%", prefix,
		"%{SYSTEM_DEFAULT_REGISTRY_RAW}%", registry,
		"%{PREFERRED_ADDRESS_TYPES}%", addresses,
	)
}

// isDisabled tells whether a file, by its path below server/manifests, or a folder that holds it is named by disable.
func isDisabled(name string, disabled map[string]bool) bool {
	for folder := filepath.Dir(name); folder != "."; folder = filepath.Dir(folder) {
		if disabled[folder] {
			return true
		}
	}
	return disabled[strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))]
}

// deployer applies what lies in server/manifests and removes what disable names.
type deployer struct {
	config  *Config
	objects dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string]string
}

func (c *Config) deployManifests(ctx context.Context) {
	settings, err := clientcmd.BuildConfigFromFlags("", serverDir+"/cred/admin.kubeconfig")
	if err != nil {
		fatal("%v", err)
	}
	settings.QPS, settings.Burst = 50, 100
	d := &deployer{config: c, objects: dynamic.NewForConfigOrDie(settings), applied: map[string]string{}}
	d.mapper = restmapper.NewDeferredDiscoveryRESTMapper(
		memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(settings)))
	said := ""
	for looks := 1; ctx.Err() == nil; looks++ {
		err := d.look(ctx)
		if err != nil && err.Error() != said {
			problem("Failed to process config: %v", err)
			said = err.Error()
		}
		if err != nil && looks < 30 {
			time.Sleep(retryEvery)
		} else {
			time.Sleep(deployEvery)
		}
	}
}

func (d *deployer) look(ctx context.Context) error {
	var files []string
	err := filepath.WalkDir(manifestsDir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && isManifest(path) {
			files = append(files, path)
		}
		return nil
	})
	problems := []error{err}
	sort.Strings(files)
	disabled := d.config.disabled()
	for _, path := range files {
		name, _ := filepath.Rel(manifestsDir, path)
		if isDisabled(name, disabled) {
			problems = append(problems, d.remove(ctx, path))
		} else if _, skip := os.Stat(path + ".skip"); skip != nil {
			problems = append(problems, d.apply(ctx, path))
		}
	}
	return errors.Join(problems...)
}

func isManifest(path string) bool {
	extension := filepath.Ext(path)
	return !strings.HasPrefix(filepath.Base(path), ".") &&
		(extension == ".yaml" || extension == ".yml" || extension == ".json")
}

// apply leaves alone what a file does not say: fields that others set, such as replicas, stay.
func (d *deployer) apply(ctx context.Context, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	mark := hex.EncodeToString(sum[:])
	if d.applied[path] == mark {
		return nil
	}
	info("Applying manifest %s", path)
	options := metav1.ApplyOptions{FieldManager: "deploy@" + d.config.NodeName, Force: true}
	err = d.each(content, func(objects dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		_, err := objects.Apply(ctx, object.GetName(), object, options)
		return err
	})
	if err != nil {
		return err
	}
	d.applied[path] = mark
	return nil
}

func (d *deployer) remove(ctx context.Context, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	behind := metav1.DeletePropagationBackground
	err = d.each(content, func(objects dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		err := objects.Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &behind})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	info("Deleted the objects of the disabled %s", path)
	return os.Remove(path)
}

// each calls for every object of a manifest, also after one that failed.
func (d *deployer) each(content []byte, do func(dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
	var problems []error
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); err == io.EOF {
			return errors.Join(problems...)
		} else if err != nil {
			return errors.Join(append(problems, err)...)
		}
		if object.IsList() {
			list, err := object.ToList()
			if err != nil {
				problems = append(problems, err)
				continue
			}
			for i := range list.Items {
				problems = append(problems, d.with(&list.Items[i], do))
			}
		} else if len(object.Object) > 0 {
			problems = append(problems, d.with(object, do))
		}
	}
}

func (d *deployer) with(object *unstructured.Unstructured, do func(dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
	kind := object.GroupVersionKind()
	mapping, err := d.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		d.mapper.Reset()
		return err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return do(d.objects.Resource(mapping.Resource), object)
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
		object.SetNamespace(namespace)
	}
	return do(d.objects.Resource(mapping.Resource).Namespace(namespace), object)
}
