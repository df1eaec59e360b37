package io.choria.aaasvc
default allow = false
allow {
  data.users.bob
}
