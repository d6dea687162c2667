/** CPU time of processes, from /proc (Linux alone). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Linux counts CPU time in ticks of 10 ms (USER_HZ), whatever the kernel's own clock is. */
const TICK_US = 10_000;

/**
 * CPU time of a process and of its ended children, in microseconds; 0 if it is gone or there is no
 * /proc.
 */
export function cpuOf(pid: number): number {
  const fields = statOf(String(pid));
  // Fields 14 to 17 of proc(5): utime, stime, cutime, cstime. Field 3 is the first behind the name.
  return fields === undefined ? 0 : fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_US;
}

/**
 * CPU time of all processes that work in a folder, as PostgreSQL's do in its data directory, in
 * microseconds.
 */
export function cpuOfFolder(folder: string): number {
  let total = 0;
  for (const name of processes()) {
    try {
      if (readlinkSync(`/proc/${name}/cwd`) === folder) total += cpuOf(Number(name));
    } catch {
      // gone, or another user's
    }
  }
  return total;
}

/** CPU time of the whole machine but idle and waiting, in microseconds. */
export function cpuOfMachine(): number {
  try {
    const [, user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
      .split('\n')[0]!
      .split(/\s+/);
    return [user, nice, system, irq, softirq, steal].reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_US;
  } catch {
    return 0;
  }
}

function processes(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

function statOf(pid: string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
