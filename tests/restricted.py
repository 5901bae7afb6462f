"""The restricted profile of Kubernetes' pod security standards (1.33), as a check of pod specs."""

from typing import Any

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def violations(pod: dict[str, Any]) -> list[str]:
    """What of a pod's spec the profile forbids; nothing where it may run."""
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    context = pod.get("securityContext") or {}
    found += [f"sysctl {one['name']}" for one in context.get("sysctls") or [] if one["name"] not in SYSCTLS]
    for volume in pod.get("volumes") or []:
        found += [f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    containers = [
        *(pod.get("initContainers") or []), *pod["containers"], *(pod.get("ephemeralContainers") or []),
    ]  # fmt: skip
    for container in containers:
        found += [f"container {container['name']}: {what}" for what in _of_container(container, context)]
    return found


def _of_container(container: dict[str, Any], pod_context: dict[str, Any]) -> list[str]:
    own = container.get("securityContext") or {}
    found = []
    if own.get("privileged"):
        found.append("privileged")
    if own.get("allowPrivilegeEscalation") is not False:
        found.append("allowPrivilegeEscalation is not false")
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        found.append("capabilities are not all dropped")
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        found.append(f"capabilities are added: {capabilities['add']}")
    if own.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
        found.append("runAsNonRoot is not true")
    if own.get("runAsUser", pod_context.get("runAsUser", 1)) == 0:
        found.append("runs as root")
    profile = (own.get("seccompProfile") or pod_context.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        found.append(f"seccomp profile {profile}")
    if own.get("procMount", "Default") != "Default":
        found.append("procMount")
    if (own.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        found.append("appArmorProfile")
    if (own.get("seLinuxOptions") or {}).get("type", "") not in SELINUX_TYPES:
        found.append("seLinuxOptions")
    found += [f"host port {port['hostPort']}" for port in container.get("ports") or [] if port.get("hostPort")]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        for action in ("httpGet", "tcpSocket"):
            if (((container.get(probe) or {}).get(action)) or {}).get("host"):
                found.append(f"{probe} names a host")
    return found
