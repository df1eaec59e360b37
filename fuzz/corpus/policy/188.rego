package io.choria.aaasvc
default allow = false
allow {
  count(io.jwt.decode("eyJhbGciOiJub25lIn0.eyJhIjoxfQ.")) == 3
}
