package io.choria.aaasvc
default allow = false
allow {
  input.claims.permissions.fleet_management == true
}
