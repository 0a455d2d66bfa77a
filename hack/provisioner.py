"""The process that gives claims their volumes; `hack/cluster up` starts it."""

from kube.provisioner import main

if __name__ == "__main__":
    main()
