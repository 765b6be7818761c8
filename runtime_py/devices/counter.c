// A plugin of QEMU that counts executed instructions of the guest for `runtime_py.devices.counter`:
//
//   qemu-aarch64 -plugin counter.so,counter=FILE PROGRAM
//
// FILE has 8 bytes or more; the first 8 are the count, and move while the guest runs. So the guest can read it too.
// tcc compiles this where no header is installed: the declarations are those of QEMU 7.2's plugin API (version 1) and
// of Linux on x86-64.
typedef unsigned long count_t;
typedef unsigned long plugin_id;
struct qemu_plugin_tb;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, count_t);
extern count_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern int open(const char *, int flags, ...);
extern void *mmap(void *, count_t, int protection, int flags, int file, long);
extern int close(int);

enum { ADD_U64 = 0, O_RDWR_ = 2, PROT_READ_WRITE = 3, MAP_SHARED_ = 1 };

int qemu_plugin_version = 1;

static count_t *counted;

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, counted, qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  static const char name[] = "counter=";
  const char *given, *wanted = name;
  int file;
  if (count != 1) return 1;
  for (given = arguments[0]; *wanted; given++, wanted++) {
    if (*given != *wanted) return 1;
  }
  file = open(given, O_RDWR_);
  if (file < 0) return 1;
  counted = mmap(0, sizeof *counted, PROT_READ_WRITE, MAP_SHARED_, file, 0);
  close(file);
  if (counted == (count_t *)-1) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
