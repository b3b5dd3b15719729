# Answers as nvidia-smi would on the target, to build scripts that ask it which GPUs there are.
# Above, crosswheel has set `driver`, `cuda` and `gpus`: a line `INDEX|NAME|CAPABILITY` a GPU.

fields= header=1 what=table only=
while [ $# -gt 0 ]; do
  case $1 in
    --query-gpu=*) what=query fields=${1#*=} ;;
    --format=*) case ,${1#*=}, in *,noheader,*) header= ;; esac ;;
    -L | --list-gpus) what=list ;;
    -q | --query) what=long ;;
    --version) what=version ;;
    -i | --id) only=$2; shift ;;
    --id=*) only=${1#*=} ;;
    *) echo "Invalid combination of input arguments: '$1'"; exit 2 ;;
  esac
  shift
done

# Calls a function for each GPU that was asked for, with its index, name and capability.
each() {
  old=$IFS
  IFS='
'
  set -f
  for gpu in $gpus; do
    IFS=$old
    index=${gpu%%|*} rest=${gpu#*|}
    case ,${only:-$index}, in *,$index,*) "$1" "$index" "${rest%%|*}" "${rest#*|}" ;; esac
  done
  IFS=$old
}

value() {
  case $4 in
    index) echo "$1" ;;
    name | gpu_name) echo "$2" ;;
    compute_cap) echo "$3" ;;
    driver_version) echo "$driver" ;;
    count) echo "$gpus" | wc -l | tr -d ' ' ;;
    # What differs from machine to machine, in nvidia-smi's own words for what it does not know.
    memory.* | uuid | gpu_uuid | serial | pci.* | power.* | temperature.* | utilization.* | clocks.* | vbios_version | pstate)
      echo '[N/A]' ;;
    *) return 1 ;;
  esac
}

row() {
  line=
  for field in $fields; do
    line="${line:+$line, }$(value "$1" "$2" "$3" "$field")"
  done
  echo "$line"
}

query() {
  fields=$(echo "$fields" | tr , ' ')
  names=
  for field in $fields; do
    if ! value 0 '' '' "$field" > /dev/null; then
      echo "Field \"$field\" is not a valid field to query."
      exit 2
    fi
    case $field in memory.*) field="$field [MiB]" ;; esac
    names="${names:+$names, }$field"
  done
  [ -z "$header" ] || echo "$names"
  each row
}

list_row() { echo "GPU $1: $2"; }
table_row() { printf '| %3s  %-82s |\n' "$1" "$2"; }
long_row() { printf 'GPU %s\n    Product Name : %s\n' "$1" "$2"; }

rule='+-----------------------------------------------------------------------------------------+'
case $what in
  query) query ;;
  list) each list_row ;;
  long)
    printf 'Driver Version : %s\nCUDA Version : %s\n' "$driver" "$cuda"
    each long_row ;;
  version)
    printf 'NVIDIA-SMI version  : %s\nDRIVER version      : %s\nCUDA Version        : %s\n' \
      "$driver" "$driver" "$cuda" ;;
  table)
    echo "$rule"
    printf '| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n' "$driver" "$driver" "$cuda"
    echo "$rule"
    each table_row
    echo "$rule" ;;
esac
