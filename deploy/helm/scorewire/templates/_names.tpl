{{/* Names and labels. */}}

{{- define "scorewire.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 45 characters: the name of a StatefulSet may have 52, since labels of its pods have a hash after it. */}}
{{- define "scorewire.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "scorewire.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "scorewire.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "scorewire.server" -}}
{{- include "scorewire.fullname" . -}}-server
{{- end -}}

{{- define "scorewire.gateway" -}}
{{- include "scorewire.fullname" . -}}-gateway
{{- end -}}

{{- define "scorewire.headless" -}}
{{- include "scorewire.server" . -}}-headless
{{- end -}}

{{/* The name that clients and probes find in the server's certificate. */}}
{{- define "scorewire.serverName" -}}
{{- default (printf "%s.%s.svc" (include "scorewire.server" .) .Release.Namespace) .Values.tls.serverName -}}
{{- end -}}

{{- define "scorewire.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scorewire.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods of one component: (list $ "server"). They never change. */}}
{{- define "scorewire.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "scorewire.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of one component: (list $ "server"). */}}
{{- define "scorewire.labels" -}}
{{- $root := index . 0 -}}
{{ include "scorewire.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image: (list $ "own reference, if any" "scorewire-server"). */}}
{{- define "scorewire.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- . -}}
{{- else -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- index . 2 }}:{{ default $root.Chart.AppVersion $root.Values.image.tag -}}
{{- end -}}
{{- end -}}
