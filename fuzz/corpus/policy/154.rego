package io.choria.aaasvc
allow = {"allow": true}
