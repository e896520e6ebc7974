module agents

go 1.21

require github.com/dropmorepackets/haproxy-go v0.0.7
