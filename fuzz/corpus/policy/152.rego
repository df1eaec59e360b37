package io.choria.aaasvc
allow = "yes"
