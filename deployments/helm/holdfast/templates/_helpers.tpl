{{- define "holdfast.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: holdfast
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "holdfast.image" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- /* What all pods have. Nothing of them talks to Kubernetes. Of a pod that pays nobody the gateway's token is no business. */ -}}
{{- define "holdfast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- $token := and (not .paysNobody) .Values.secrets.gatewayToken }}
{{- if or $token .Values.secrets.redisCA }}
volumes:
  {{- with $token }}
  - name: gateway-token
    secret: {secretName: {{ .name }}, items: [{key: {{ .key }}, path: token}]}
  {{- end }}
  {{- with .Values.secrets.redisCA }}
  - name: redis-ca
    secret: {secretName: {{ .name }}, items: [{key: {{ .key }}, path: ca.crt}]}
  {{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- $token := and (not .paysNobody) .Values.secrets.gatewayToken }}
{{- if or $token .Values.secrets.redisCA }}
volumeMounts:
  {{- if $token }}
  - {name: gateway-token, mountPath: /etc/holdfast/gateway, readOnly: true}
  {{- end }}
  {{- if .Values.secrets.redisCA }}
  - {name: redis-ca, mountPath: /etc/holdfast/redis, readOnly: true}
  {{- end }}
{{- end }}
{{- end }}

{{- define "holdfast.redis" -}}
- name: HOLDFAST_REDIS
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}

{{- define "holdfast.redisCA" -}}
{{- if .Values.secrets.redisCA }}
- {name: HOLDFAST_REDIS_CA, value: /etc/holdfast/redis/ca.crt}
{{- end }}
{{- end }}

{{- define "holdfast.gateway" -}}
- name: HOLDFAST_GATEWAY
  valueFrom:
    secretKeyRef: {name: {{ .Values.secrets.gateway.name }}, key: {{ .Values.secrets.gateway.key }}}
{{- if .Values.secrets.gatewayToken }}
- {name: HOLDFAST_GATEWAY_TOKEN_FILE, value: /etc/holdfast/gateway/token}
{{- end }}
{{- end }}

{{- /* Where the log is archived, and, of workers, what of it stays in Redis. */ -}}
{{- define "holdfast.archive" -}}
{{- with .url }}
- {name: HOLDFAST_ARCHIVE, value: {{ . | quote }}}
{{- end }}
{{- if .url }}
{{- with .keepLog }}
- {name: HOLDFAST_KEEP_LOG, value: {{ . | quote }}}
{{- end }}
{{- with .keepLogBytes }}
- {name: HOLDFAST_KEEP_LOG_BYTES, value: {{ . | int64 | quote }}}
{{- end }}
{{- with .keepEvent }}
- {name: HOLDFAST_KEEP_EVENT, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* Further variables of a worker, an audit or the API. */ -}}
{{- define "holdfast.env" -}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $from := .secretEnv }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $from.name }}, key: {{ $from.key }}}
{{- end }}
{{- end }}
