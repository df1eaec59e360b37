package io.choria.aaasvc
allow := true
