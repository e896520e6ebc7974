// Which library an agent is built on is said in versions/NAME.mod (go build -modfile), with its checksums in NAME.sum.
module agents

go 1.21
