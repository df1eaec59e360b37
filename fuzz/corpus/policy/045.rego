package io.choria.aaasvc
default allow = false
allow {
  input.claims.user_properties.group == "admins"
}
