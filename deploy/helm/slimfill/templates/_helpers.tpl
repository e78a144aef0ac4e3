{{- define "slimfill.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "slimfill.server" -}}{{ include "slimfill.fullname" . }}-server{{- end -}}
{{- define "slimfill.kvstore" -}}{{ include "slimfill.fullname" . }}-kvstore{{- end -}}

{{- define "slimfill.l2" -}}{{ include "slimfill.fullname" . }}-l2{{- end -}}

{{/* Hosts of the L2's nodes in the order of their shares, with a separator: (dict "root" $ "after" ":6379" "between" ","). */}}
{{- define "slimfill.l2Hosts" -}}
{{- $name := include "slimfill.l2" .root -}}
{{- $after := .after -}}
{{- $hosts := list -}}
{{- range $i := until (int .root.Values.l2.nodes) }}{{ $hosts = append $hosts (printf "%s-%d.%s%s" $name $i $name $after) }}{{ end -}}
{{- join .between $hosts -}}
{{- end -}}

{{/* Selector labels of a component: (dict "root" $ "component" "server"). They must never change in an upgrade. */}}
{{- define "slimfill.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "slimfill.labels" -}}
{{ include "slimfill.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Pod annotations: (dict "root" $ "port" 9090 "extra" map). */}}
{{- define "slimfill.podAnnotations" -}}
{{- if .root.Values.metrics.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "slimfill.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "slimfill.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Arguments from an options map: (dict "options" map "reserved" list "of" "server"). Numbers arrive as floats, which
     large ones would print in scientific notation. */}}
{{- define "slimfill.options" -}}
{{- $reserved := .reserved -}}
{{- $of := .of -}}
{{- range $key, $value := .options }}
{{- if has $key $reserved }}{{ fail (printf "%s.options.%s: the chart sets this option itself; change the value it has for it (values.yaml)" $of $key) }}{{ end }}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ $value = int64 $value }}{{ end }}
- {{ printf "--%s=%v" $key $value | quote }}
{{- end }}
{{- end -}}

{{/* The handler of a probe: (dict "port" 8080 "service" "readiness" "tls" bool "clientCertificate" bool). Kubernetes' own
     gRPC probe cannot speak TLS, so with TLS the probe program of the image asks instead; where clients need a
     certificate it shows the pod's own. */}}
{{- define "slimfill.probe" -}}
{{- if .tls -}}
exec:
  command:
    - grpc-health-probe
    - -addr=127.0.0.1:{{ .port }}
    - -service={{ .service }}
    - -connect-timeout=2s
    - -rpc-timeout=2s
    - -tls
    - -tls-no-verify
    {{- if .clientCertificate }}
    - -tls-client-cert=/etc/slimfill/tls/tls.crt
    - -tls-client-key=/etc/slimfill/tls/tls.key
    {{- end }}
{{- else -}}
grpc: {port: {{ .port }}, service: {{ .service }}}
{{- end }}
{{- end -}}

{{- define "slimfill.serverProbe" -}}
{{- $server := .root.Values.server -}}
{{- include "slimfill.probe" (dict "port" $server.ports.grpc "service" .service "tls" $server.tls.secretName "clientCertificate" $server.tls.verifyClients) -}}
{{- end -}}

{{- define "slimfill.kvstoreProbe" -}}
{{- $kvstore := .root.Values.kvstore -}}
{{- include "slimfill.probe" (dict "port" $kvstore.ports.grpc "service" .service "tls" $kvstore.tls.secretName "clientCertificate" true) -}}
{{- end -}}
