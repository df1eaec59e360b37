package io.choria.aaasvc
default allow = false
allow {
  not input.claims.permissions.org_admin
}
