# What a host is, as key=value lines (one value) and key+=value lines (a table's row). POSIX sh and coreutils;
# whatever may be missing is asked for, whatever may hang is timed. Read by read.py beside this file.
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"; }
add() { printf '%s+=%s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
lim() { if have timeout; then timeout 20 "$@"; else "$@"; fi; }
say facts_version 1
say uid "$(id -u)"
if [ -r /etc/os-release ]; then
  ( . /etc/os-release; say os_id "$ID"; say os_like "$ID_LIKE"; say os_version "$VERSION_ID"
    say os_codename "$VERSION_CODENAME"; say os_name "$PRETTY_NAME"; say os_platform "$PLATFORM_ID" )
fi
say kernel "$(uname -r)"; say arch "$(uname -m)"; say hostname "$(uname -n)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
say time "$(date +%s)"
say cpus "$(nproc 2>/dev/null)"
say memory_kib "$(awk '/^MemTotal:/ {print $2}' /proc/meminfo 2>/dev/null)"
# CAP_SYS_RESOURCE (bit 24) of PID 1: without it, as in some containers and VMs, nobody can raise a limit there
say capabilities "$(awk '/^CapEff:/ {print $2}' /proc/1/status 2>/dev/null)"
say systemd "$(systemctl --version 2>/dev/null | awk 'NR==1 {print $2}')"
say systemd_state "$(systemctl is-system-running 2>/dev/null)"
if have apt-get; then say packages apt; elif have dnf; then say packages dnf; fi
say apt_upgrades "$(systemctl is-enabled unattended-upgrades.service 2>/dev/null)"
say python "$(python3 -c 'import sys; print(sys.version.split()[0])' 2>/dev/null)"
for d in / /var/lib /var/lib/docker /srv; do
  [ -d "$d" ] && df -Pk "$d" 2>/dev/null | awk -v d="$d" 'NR==2 {print "disk+=" d " " $1 " " $2 " " $4}'
done
df -Pi / 2>/dev/null | awk 'NR==2 {print "inodes_free=" $4}'
have ip && ip -o addr show scope global 2>/dev/null | awk '{print "address+=" $2 " " $4}'
say container "$(systemd-detect-virt --container 2>/dev/null | sed s/none//)"
for f in /etc/modprobe.d/fleet-nvidia.conf /etc/apt/preferences.d/fleet-nvidia /etc/apt/apt.conf.d/52fleet-nvidia \
  /etc/apt/sources.list.d/fleet-cuda.sources /etc/yum.repos.d/fleet-cuda.repo; do
  [ -e "$f" ] && echo driver_ours=yes
done
say secure_boot "$(lim mokutil --sb-state 2>/dev/null | head -n1)"
# SELinux lets HAProxy have and reach web ports only, unless it is told otherwise
if [ "$(lim getenforce 2>/dev/null)" = Enforcing ]; then
  say haproxy_confined "$(lim getsebool haproxy_connect_any 2>/dev/null | sed -n 's/.*--> off *$/yes/p')"
fi
say nouveau "$( (lsmod 2>/dev/null || cat /proc/modules) | awk '$1=="nouveau" {print "loaded"}')"
say nvidia_module "$( (lsmod 2>/dev/null || cat /proc/modules) | awk '$1=="nvidia" {print "loaded"}')"
say nvidia_modinfo "$(lim modinfo -F version nvidia 2>/dev/null | head -n1)"
say nvidia_proc "$(head -n1 /proc/driver/nvidia/version 2>/dev/null)"
if have lspci; then
  lim lspci -Dnn 2>/dev/null |
    grep -E '\[03(00|02)\]|\[0680\]' | grep -i '\[10de:' | while IFS= read -r l; do add pci "$l"; done
else
  for d in /sys/bus/pci/devices/*; do
    [ "$(cat "$d/vendor" 2>/dev/null)" = 0x10de ] || continue
    c=$(cat "$d/class"); i=$(cat "$d/device")
    case $c in 0x0300*|0x0302*|0x0680*) add pci "${d##*/} class [$(printf %s "$c" | cut -c3-6)]: NVIDIA [10de:${i#0x}]";; esac
  done
fi
if have nvidia-smi; then
  say smi yes
  if o=$(lim nvidia-smi --query-gpu=@GPU_QUERY@ --format=csv,noheader,nounits 2>&1); then
    printf '%s\n' "$o" | while IFS= read -r l; do [ -n "$l" ] && add gpu "$l"; done
    lim nvidia-smi --query-compute-apps=@APPS_QUERY@ --format=csv,noheader,nounits 2>/dev/null |
      while IFS= read -r l; do case $l in [0-9]*) add app "$l";; esac; done
  else say smi_error "$o"; fi
fi
if have docker; then
  say docker_client "$(docker --version 2>/dev/null)"
  if o=$(lim docker info --format '{{.ServerVersion}}|{{.CgroupDriver}}|{{.DockerRootDir}}|{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}|{{json .Runtimes}}' 2>&1); then
    say docker "$o"
    lim docker ps --all --no-trunc --format '{{.Names}}|{{.State}}|{{.Image}}|{{.Label "fleet.instance"}}|{{.ID}}' 2>/dev/null |
      while IFS= read -r l; do add container "$l"; done
  else say docker_error "$o"; fi
fi
for p in docker-ce docker-ce-cli containerd.io docker.io docker-cli moby-engine moby-cli moby podman-docker nvidia-container-toolkit; do
  if have dpkg-query; then v=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$p" 2>/dev/null)
    case $v in "installed "*) add runtime_package "$p ${v#installed }";; esac
  elif have rpm; then v=$(rpm -q --qf '%{VERSION}-%{RELEASE}' "$p" 2>/dev/null) && add runtime_package "$p $v"; fi
done
if have ss; then ss -Hltnp 2>/dev/null | awk '{print "port+=" $4 " " $6}'
else awk 'FNR>1 && $4=="0A" {print "tcp+=" $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null; fi
[ -f /run/reboot-required ] || [ -f /var/run/reboot-required ] && say reboot_required yes
[ -r /var/lib/fleet/gpus.json ] && say gpus_remembered "$(cat /var/lib/fleet/gpus.json)"
for u in $(systemctl list-units --no-legend --plain --all 'fleet-*' 2>/dev/null | awk '{print $1}'); do
  add unit "$u $(systemctl show -p ActiveState --value "$u" 2>/dev/null)"
done
for d in /etc/fleet/instances/*/; do [ -d "$d" ] && add instance "$(basename "$d")"; done
say facts_end yes
