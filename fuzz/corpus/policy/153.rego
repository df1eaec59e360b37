package io.choria.aaasvc
allow = 1
