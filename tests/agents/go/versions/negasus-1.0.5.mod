module agents

go 1.21

require github.com/negasus/haproxy-spoe-go v1.0.5
