package io.choria.aaasvc
default allow = false
allow {
  contains(input.claims.opa_policy, "package io.choria.aaasvc")
}
