# The server's Deployment, made a Job that brings its database to the schema of the Deployment's image.
{
  apiVersion: "batch/v1", kind: "Job",
  metadata: {name: "mlflow-upgrade", namespace: .metadata.namespace},
  spec: {
    backoffLimit: 0, ttlSecondsAfterFinished: 86400,
    template: {
      metadata: {labels: .spec.template.metadata.labels},
      spec: (.spec.template.spec | .restartPolicy = "Never" | .containers[0] |= (
        .command = ["mlflow", "db", "upgrade", "postgresql:///"]
        | del(.args, .ports, .startupProbe, .readinessProbe, .livenessProbe)
      ))
    }
  }
}
