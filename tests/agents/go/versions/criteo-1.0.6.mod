module agents

go 1.21

require (
	github.com/criteo/haproxy-spoe-go v1.0.6
	github.com/pkg/errors v0.9.1
	github.com/sirupsen/logrus v1.7.0
	golang.org/x/sys v0.0.0-20210113181707-4bcb84eeeb78
)
