{{/* Parts that all pods have. */}}

{{/* The restricted profile of Kubernetes' pod security standards. */}}
{{- define "scorewire.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "scorewire.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where pods run, by the values of a component: (list $ "server" $values). */}}
{{- define "scorewire.placement" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- with index . 2 -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .topologySpread.enabled }}
{{- $spread := .topologySpread }}
topologySpreadConstraints:
  {{- range .topologySpread.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $spread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "scorewire.selector" (list $root $component) | nindent 8 }}
    {{- if eq $component "gateway" }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
serviceAccountName: {{ include "scorewire.serviceAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end -}}

{{/* A HorizontalPodAutoscaler's behaviour: quick to grow, slow to shrink. (values of autoscaling) */}}
{{- define "scorewire.scaling" -}}
behavior:
  scaleUp:
    stabilizationWindowSeconds: 0
    policies:
      - {type: Percent, value: 100, periodSeconds: 30}
      - {type: Pods, value: 2, periodSeconds: 30}
    selectPolicy: Max
  scaleDown:
    stabilizationWindowSeconds: {{ .scaleDownSeconds }}
    policies:
      - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}
