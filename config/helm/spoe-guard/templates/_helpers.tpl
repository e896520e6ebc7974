{{/* The name of everything. */}}
{{- define "spoe-guard.name" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the Service for Prometheus. */}}
{{- define "spoe-guard.metrics" -}}
{{- printf "%s-metrics" (include "spoe-guard.name" . | trunc 55 | trimSuffix "-") }}
{{- end }}

{{/* What the pods are known by. */}}
{{- define "spoe-guard.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spoe-guard.labels" -}}
{{ include "spoe-guard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The port of an address. */}}
{{- define "spoe-guard.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}
