{{/* The server's container. */}}

{{- define "scorewire.serverImage" -}}
{{- $name := .Values.records.enabled | ternary "scorewire-server-records" "scorewire-server" -}}
{{- include "scorewire.image" (list . .Values.server.image $name) -}}
{{- end -}}

{{/* Arguments of `scorewire serve`. */}}
{{- define "scorewire.serverArgs" -}}
{{- $settings := .Values.server.settings -}}
- --models=/models
- --listen={{ .Values.server.host }}:8500
- --state-file=/var/lib/scorewire/state.json
- --control={{ .Values.server.control }}
- --drain-seconds={{ .Values.server.drainSeconds }}
- --grace-seconds={{ .Values.server.graceSeconds }}
{{- if not (hasKey $settings "log-format") }}
- --log-format=json
{{- end }}
{{- if not (hasKey $settings "max-connection-age-seconds") }}
{{- /* Clients ask DNS again when a connection ends, so that new pods get calls. */}}
- --max-connection-age-seconds=60
{{- end }}
{{- if not (hasKey $settings "watch") }}
{{- /* Shared volumes send no events; image volumes and copies do not change while the pod lives. */}}
- --watch={{ eq .Values.models.source "persistentVolumeClaim" | ternary "poll" "off" }}
{{- end }}
{{- if .Values.metrics.enabled }}
- --metrics-port={{ .Values.metrics.port }}
{{- end }}
{{- if .Values.tls.secretName }}
- --tls-cert=/etc/scorewire/tls/tls.crt
- --tls-key=/etc/scorewire/tls/tls.key
{{- end }}
{{- if .Values.access.secret.name }}
- --access=/etc/scorewire/access/{{ .Values.access.secret.key }}
{{- end }}
{{- with .Values.records }}
{{- if .enabled }}
{{- /* A folder that the server makes, so that only its user can read it. */}}
- --records=/var/lib/scorewire/volume/records
{{- with .postgresql.url }}
- --records-to={{ . }}
{{- end }}
{{- if .postgresql.passwordSecret.name }}
- --records-password-file=/etc/scorewire/records-password/password
{{- end }}
{{- if .policy }}
- --records-policy=/etc/scorewire/records/policy.toml
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $settings }}
- {{ printf "--%s=%s" $name (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- with .Values.server.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
A probe by Kubernetes' own gRPC client: (list $ "service").
That client speaks no TLS, so with TLS the image's own check asks.
*/}}
{{- define "scorewire.probe" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.tls.secretName -}}
exec:
  command:
    - python
    - -m
    - scorewire_server.healthcheck
    - {{ eq $root.Values.server.host "[::]" | ternary "[::1]" "127.0.0.1" }}:8500
    - --tls-ca=/etc/scorewire/tls/ca.crt
    - --tls-server-name={{ include "scorewire.serverName" $root }}
    {{- with index . 1 }}
    - --service={{ . }}
    {{- end }}
timeoutSeconds: 5
{{- else -}}
grpc:
  port: 8500
  {{- with index . 1 }}
  service: {{ . }}
  {{- end }}
timeoutSeconds: 2
{{- end -}}
{{- end -}}

{{- define "scorewire.serverContainer" -}}
name: server
image: {{ include "scorewire.serverImage" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: {{- include "scorewire.serverArgs" . | nindent 2 }}
env:
  {{- $processors := "requests.cpu" }}
  {{- if dig "limits" "cpu" "" .Values.server.resources }}{{ $processors = "limits.cpu" }}{{ end }}
  {{- if and (not (hasKey .Values.server.settings "threads")) (dig (splitList "." $processors | first) "cpu" "" .Values.server.resources) }}
  # A thread for each processor of the pod, rather than for each of the node.
  - name: SCOREWIRE_THREADS
    valueFrom:
      resourceFieldRef: {containerName: server, resource: {{ $processors }}, divisor: "1"}
  {{- end }}
  - {name: TMPDIR, value: /tmp}
  {{- with .Values.server.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: grpc, containerPort: 8500, protocol: TCP}
  {{- if .Values.metrics.enabled }}
  - {name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP}
  {{- end }}
# The name of the health service itself is SERVING as long as the process answers.
startupProbe:
  {{- include "scorewire.probe" (list . "grpc.health.v1.Health") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  {{- include "scorewire.probe" (list . "grpc.health.v1.Health") | nindent 2 }}
  periodSeconds: 10
  failureThreshold: 6
# The empty name is SERVING once all bundles have been tried and a model serves, until SIGTERM.
readinessProbe:
  {{- include "scorewire.probe" (list . "") | nindent 2 }}
  periodSeconds: {{ empty .Values.tls.secretName | ternary 2 10 }}
  failureThreshold: 2
resources: {{- toYaml .Values.server.resources | nindent 2 }}
securityContext: {{- include "scorewire.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: models
    mountPath: /models
    readOnly: true
    {{- if eq .Values.models.source "persistentVolumeClaim" }}
    {{- with .Values.models.persistentVolumeClaim.subPath }}
    subPath: {{ . }}
    {{- end }}
    {{- else if eq .Values.models.source "image" }}
    {{- with .Values.models.image.subPath }}
    subPath: {{ . }}
    {{- end }}
    {{- end }}
  - {name: state, mountPath: /var/lib/scorewire}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.tls.secretName }}
  - {name: tls, mountPath: /etc/scorewire/tls, readOnly: true}
  {{- end }}
  {{- if .Values.access.secret.name }}
  - {name: access, mountPath: /etc/scorewire/access, readOnly: true}
  {{- end }}
  {{- if .Values.records.enabled }}
  - {name: records, mountPath: /var/lib/scorewire/volume}
  {{- if .Values.records.postgresql.passwordSecret.name }}
  - {name: records-password, mountPath: /etc/scorewire/records-password, readOnly: true}
  {{- end }}
  {{- if .Values.records.policy }}
  - {name: records-policy, mountPath: /etc/scorewire/records, readOnly: true}
  {{- end }}
  {{- end }}
  {{- with .Values.server.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Containers that run before the server. */}}
{{- define "scorewire.initContainers" -}}
{{- if eq .Values.models.source "initContainer" }}
- name: models
  image: {{ .Values.models.initContainer.image }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- with .Values.models.initContainer.command }}
  command: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.models.initContainer.args }}
  args: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.models.initContainer.env }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.models.initContainer.envFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.models.initContainer.resources }}
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "scorewire.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- if .Values.routing.state }}
# A copy, since the server keeps a lock and the state before beside the file.
- name: routing
  image: {{ include "scorewire.serverImage" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [cp, /etc/scorewire/routing/state.json, /var/lib/scorewire/state.json]
  securityContext: {{- include "scorewire.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: state, mountPath: /var/lib/scorewire}
    - {name: routing, mountPath: /etc/scorewire/routing, readOnly: true}
{{- end }}
{{- end -}}

{{- define "scorewire.serverVolumes" -}}
- name: models
  {{- if eq .Values.models.source "persistentVolumeClaim" }}
  persistentVolumeClaim:
    claimName: {{ .Values.models.persistentVolumeClaim.claimName }}
    readOnly: true
  {{- else if eq .Values.models.source "image" }}
  image:
    reference: {{ .Values.models.image.reference }}
    pullPolicy: {{ .Values.models.image.pullPolicy }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.models.initContainer.sizeLimit }}
  {{- end }}
- name: state
  emptyDir: {sizeLimit: 64Mi}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- with .Values.tls.secretName }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.access.secret }}
{{- if .name }}
- name: access
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if .Values.routing.state }}
- name: routing
  configMap:
    name: {{ include "scorewire.server" . }}-routing
{{- end }}
{{- if .Values.records.enabled }}
{{- with .Values.records.postgresql.passwordSecret }}
{{- if .name }}
- name: records-password
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
    items:
      - {key: {{ .key }}, path: password}
{{- end }}
{{- end }}
{{- if .Values.records.policy }}
- name: records-policy
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "scorewire.server" . }}-records-policy
      {{- with .Values.records.hashKeySecret }}
      {{- if .name }}
      - secret:
          name: {{ .name }}
          items:
            - {key: {{ .key }}, path: hash.key}
      {{- end }}
      {{- end }}
{{- end }}
{{- end }}
{{- with .Values.server.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
