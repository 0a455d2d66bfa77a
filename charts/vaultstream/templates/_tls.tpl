{{/* "true" if the chart creates the certificates itself, otherwise empty. */}}
{{- define "vaultstream.tls.generated" -}}
{{- if and (eq .Values.services "bundled") (not .Values.tls.certManager.enabled) (not .Values.tls.existingSecrets.postgres) (not .Values.tls.existingSecrets.nats) -}}
true
{{- end -}}
{{- end -}}

{{/* Name of the Secret in each namespace whose `ca.crt` has the CA of the services. Empty: use the CAs of the image. */}}
{{- define "vaultstream.tls.caSecret" -}}
{{- if .Values.tls.ca.existingSecret -}}
{{- .Values.tls.ca.existingSecret -}}
{{- else if or (eq .Values.services "bundled") .Values.tls.ca.bundle -}}
{{- printf "%s-ca" (include "vaultstream.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the certificate of a bundled server. Takes a map with `root` and `server`, postgres or nats. */}}
{{- define "vaultstream.tls.serverSecret" -}}
{{- default (printf "%s-%s-tls" (include "vaultstream.fullname" .root) .server) (get .root.Values.tls.existingSecrets .server) -}}
{{- end -}}

{{/* Host names of a bundled server, as JSON. Takes a map with `root` and `server`. */}}
{{- define "vaultstream.tls.hosts" -}}
{{- $service := printf "%s-%s" (include "vaultstream.fullname" .root) .server -}}
{{- $namespace := .root.Release.Namespace -}}
{{- list (printf "%s.%s.svc" $service $namespace) (printf "%s.%s.svc.cluster.local" $service $namespace) (printf "%s.%s" $service $namespace) $service "localhost" | toJson -}}
{{- end -}}

{{/*
The CA and the server certificates that the chart creates. Existing ones in the cluster are used. Returns JSON, the same
throughout one rendering: `ca`, `postgres` and `nats`, each with `cert` and `key` in PEM.
*/}}
{{- define "vaultstream.tls.pairs" -}}
{{- if not (hasKey .Release "vaultstreamTls") -}}
{{- $full := include "vaultstream.fullname" . -}}
{{- $days := int .Values.tls.validityDays -}}
{{- $pairs := dict -}}
{{- $ca := dict -}}
{{- $kept := lookup "v1" "Secret" .Release.Namespace (printf "%s-authority" $full) -}}
{{- if $kept -}}
{{- $ca = buildCustomCert (index $kept.data "tls.crt") (index $kept.data "tls.key") -}}
{{- else -}}
{{- $ca = genCAWithKey (printf "%s.%s" $full .Release.Namespace) $days (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- $_ := set $pairs "ca" (dict "cert" $ca.Cert "key" $ca.Key) -}}
{{- range $server := list "postgres" "nats" -}}
{{- $old := lookup "v1" "Secret" $.Release.Namespace (include "vaultstream.tls.serverSecret" (dict "root" $ "server" $server)) -}}
{{- $hosts := include "vaultstream.tls.hosts" (dict "root" $ "server" $server) | fromJsonArray -}}
{{- $oldCa := dig "data" "ca.crt" "" (default dict $old) | b64dec -}}
{{- if and $old (eq $oldCa $ca.Cert) -}}
{{- $_ := set $pairs $server (dict "cert" (index $old.data "tls.crt" | b64dec) "key" (index $old.data "tls.key" | b64dec)) -}}
{{- else -}}
{{- $new := genSignedCertWithKey (first $hosts) (list "127.0.0.1") $hosts $days $ca (genPrivateKey "ecdsa") -}}
{{- $_ := set $pairs $server (dict "cert" $new.Cert "key" $new.Key) -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Release "vaultstreamTls" $pairs -}}
{{- end -}}
{{- .Release.vaultstreamTls | toJson -}}
{{- end -}}

{{/* CA certificates for the Secrets that the chart creates. */}}
{{- define "vaultstream.tls.caBundle" -}}
{{- if .Values.tls.ca.bundle -}}
{{- .Values.tls.ca.bundle -}}
{{- else -}}
{{- (include "vaultstream.tls.pairs" . | fromJson).ca.cert -}}
{{- end -}}
{{- end -}}

{{/* Fields that all certificates from cert-manager share. */}}
{{- define "vaultstream.tls.certificateSpec" -}}
{{- with .Values.tls.certManager -}}
duration: {{ .duration }}
renewBefore: {{ .renewBefore }}
privateKey:
  algorithm: ECDSA
  size: 256
  rotationPolicy: Always
issuerRef:
  name: {{ required "tls.certManager.issuerRef.name: the issuer's name is missing" .issuerRef.name }}
  kind: {{ .issuerRef.kind }}
  group: {{ .issuerRef.group }}
{{- end -}}
{{- end -}}

{{/* Fails if the CA is given twice, because only one would be used. */}}
{{- define "vaultstream.tls.caCheck" -}}
{{- if and .Values.tls.ca.existingSecret .Values.tls.ca.bundle -}}
{{- fail "tls.ca.existingSecret and tls.ca.bundle are both set, but clients would use only the Secret; unset one of them" -}}
{{- end -}}
{{- end -}}

{{/* Fails if clients would not trust the certificates of bundled services, or if two sources would write them. */}}
{{- define "vaultstream.tls.check" -}}
{{- $given := .Values.tls.existingSecrets -}}
{{- $ca := or .Values.tls.ca.existingSecret .Values.tls.ca.bundle -}}
{{- if or $given.postgres $given.nats -}}
{{- if .Values.tls.certManager.enabled -}}
{{- fail "tls.certManager.enabled is true, but cert-manager would overwrite the Secrets of tls.existingSecrets; unset them, or disable cert-manager" -}}
{{- end -}}
{{- range $server := list "postgres" "nats" -}}
{{- if not (get $given $server) -}}
{{- fail (printf "tls.existingSecrets.%s is empty and the other is set, but the chart cannot create only one of the certificates; set both, or neither" $server) -}}
{{- end -}}
{{- end -}}
{{- if not $ca -}}
{{- fail "tls.ca is empty, so no client would trust the certificates of tls.existingSecrets; set tls.ca.existingSecret or tls.ca.bundle to their CA" -}}
{{- end -}}
{{- else if and $ca (include "vaultstream.tls.generated" .) -}}
{{- fail (printf "tls.ca.%s is set, but the chart creates the certificates with its own CA, which clients would not trust then; unset it, or use tls.existingSecrets or tls.certManager" (ternary "existingSecret" "bundle" (ne .Values.tls.ca.existingSecret ""))) -}}
{{- end -}}
{{- end -}}
