// Command schemas makes the JSON schemas that manifests are checked with, one a kind, without a network but for Go modules:
//
//	go run ./schemas
//
// They are made of what Kubernetes, KEDA and the Prometheus operator publish (Apache License 2.0), in the versions below.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.37.2"
	keda       = "github.com/kedacore/keda/v2@v2.21.0"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// kinds are those of Kubernetes itself that are deployed.
var kinds = map[string]string{
	"deployment-apps-v1":            "io.k8s.api.apps.v1.Deployment",
	"statefulset-apps-v1":           "io.k8s.api.apps.v1.StatefulSet",
	"job-batch-v1":                  "io.k8s.api.batch.v1.Job",
	"cronjob-batch-v1":              "io.k8s.api.batch.v1.CronJob",
	"configmap-v1":                  "io.k8s.api.core.v1.ConfigMap",
	"secret-v1":                     "io.k8s.api.core.v1.Secret",
	"service-v1":                    "io.k8s.api.core.v1.Service",
	"networkpolicy-networking-v1":   "io.k8s.api.networking.v1.NetworkPolicy",
	"poddisruptionbudget-policy-v1": "io.k8s.api.policy.v1.PodDisruptionBudget",
}

type object = map[string]any

func main() {
	if err := run("schemas"); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(to string) error {
	dir, err := module(kubernetes)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		return err
	}
	var swagger struct {
		Definitions map[string]object `json:"definitions"`
	}
	if err := json.Unmarshal(text, &swagger); err != nil {
		return err
	}
	for file, name := range kinds {
		if err := write(to, file, ofKubernetes(swagger.Definitions, name)); err != nil {
			return err
		}
	}
	if dir, err = module(keda); err != nil {
		return err
	}
	if err := ofCRD(to, "scaledobject-keda-v1alpha1", filepath.Join(dir, "config/crd/bases/keda.sh_scaledobjects.yaml")); err != nil {
		return err
	}
	if err := ofTrigger(to, filepath.Join(dir, "schema/generated/scalers-schema.json")); err != nil {
		return err
	}
	if dir, err = module(operator); err != nil {
		return err
	}
	for kind, plural := range map[string]string{"podmonitor": "podmonitors", "prometheusrule": "prometheusrules"} {
		crd := filepath.Join(dir, "example/prometheus-operator-crd/monitoring.coreos.com_"+plural+".yaml")
		if err := ofCRD(to, kind+"-monitoring-v1", crd); err != nil {
			return err
		}
	}
	return nil
}

// module is where the sources of a module are.
func module(version string) (dir string, err error) {
	out, err := exec.Command("go", "mod", "download", "-json", version).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", version, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return "", fmt.Errorf("%s: %w", version, err)
	}
	return found.Dir, nil
}

// ofKubernetes is a definition with all that it refers to.
func ofKubernetes(all map[string]object, name string) object {
	needed := make(object)
	var need func(name string)
	need = func(name string) {
		if _, there := needed[name]; there {
			return
		}
		needed[name] = nil // it may refer to itself
		switch name {
		case "io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity":
			needed[name] = object{"type": []any{"string", "number"}}
			return
		}
		needed[name] = strict(all[name], func(ref string) string {
			of := strings.TrimPrefix(ref, "#/definitions/")
			need(of)
			return "#/definitions/" + of
		})
	}
	need(name)
	return object{"$ref": "#/definitions/" + name, "definitions": needed}
}

// strict is a schema that takes nothing that it does not name, without what only people read.
func strict(v any, ref func(string) string) any {
	switch v := v.(type) {
	case object:
		out := make(object)
		for key, of := range v {
			switch {
			case key == "$ref":
				if of, is := of.(string); is {
					out[key] = ref(of)
				}
			case key == "properties":
				properties := make(object)
				for name, of := range of.(object) {
					properties[name] = strict(of, ref)
				}
				out[key] = properties
			case key == "description" || key == "default" || key == "title" || key == "example" || key == "format" || strings.HasPrefix(key, "x-kubernetes-"):
			default:
				out[key] = strict(of, ref)
			}
		}
		_, more := out["additionalProperties"]
		if _, is := out["properties"]; is && !more && v["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
		if v["x-kubernetes-int-or-string"] == true {
			return object{"type": []any{"string", "number"}}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = strict(v[i], ref)
		}
		return out
	}
	return v
}

// ofCRD is the newest schema of a custom resource.
func ofCRD(to, file, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema object `yaml:"openAPIV3Schema"`
				} `yaml:"schema"`
			} `yaml:"versions"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	schema := strict(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(ref string) string { return ref }).(object)
	properties := schema["properties"].(object)
	properties["metadata"] = object{"type": "object"} // to Kubernetes it is what it is of every kind
	return write(to, file, schema)
}

// ofTrigger is what KEDA's metrics-api trigger takes: neither its CRD, nor an API server, knows.
func ofTrigger(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var all struct {
		Scalers []struct {
			Type       string   `json:"type"`
			Parameters []object `json:"parameters"`
		} `json:"scalers"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, scaler := range all.Scalers {
		if scaler.Type != "metrics-api" {
			continue
		}
		properties, required := make(object), []string{}
		for _, p := range scaler.Parameters {
			if p["metadataVariableReadable"] != true {
				continue
			}
			property := object{"type": "string"}
			if values, is := p["allowedValue"]; is {
				property["enum"] = values
			}
			name := p["name"].(string)
			properties[name] = property
			if _, hasDefault := p["default"]; p["optional"] != true && !hasDefault {
				required = append(required, name)
			}
		}
		return write(to, "keda-metrics-api", object{"type": "object", "properties": properties, "required": required, "additionalProperties": false})
	}
	return fmt.Errorf("%s: no metrics-api", from)
}

func write(to, file string, schema object) error {
	schema["$comment"] = "made by go run ./schemas; Apache License 2.0"
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, file+".json"), text.Bytes(), 0o644)
}
