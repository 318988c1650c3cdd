/* An extension module that takes its physical memory from pymigrate, in the same process, without linking with it.
 *
 *     cc -std=c11 -O2 -shared -fPIC $(python3-config --includes) $(pymigrate-config --cflags) hostsim.c -o hostsim.so && python run.py
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pymigrate.h>

static const struct pm_api *pm;

/* translate_many(machine_capsule, space, first, step, n) -> sum of the frames, how many were touched for the first time */
static PyObject *translate_many(PyObject *self, PyObject *args)
{
	unsigned long long space, addr, step, sum = 0;
	Py_ssize_t n, i, touched = 0;
	struct pm_machine *machine;
	PyObject *capsule;

	(void)self;
	if (!PyArg_ParseTuple(args, "OKKKn", &capsule, &space, &addr, &step, &n))
		return NULL;
	machine = PyCapsule_GetPointer(capsule, "pymigrate.machine");
	if (!machine)
		return NULL;
	for (i = 0; i < n; i++, addr += step) {
		struct pm_translation t;
		enum pm_status status;

		/* A machine that Python made comes back from a wait now and then, for signals. */
		do {
			status = pm->translate(machine, 0, space, addr, PM_TRANSLATE_WRITE, &t);
			if (status == PM_ERR_INTR && PyErr_CheckSignals())
				return NULL;
		} while (status == PM_ERR_INTR);
		if (status) {
			PyErr_SetString(PyExc_RuntimeError, pm->status_text(status));
			return NULL;
		}
		sum += t.pfn;
		touched += t.kind == PM_TRANSLATED_TOUCH;
	}
	return Py_BuildValue("Kn", sum, touched);
}

static PyMethodDef methods[] = {
	{ "translate_many", translate_many, METH_VARARGS, "Translate n addresses, a step apart." },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, .m_name = "hostsim", .m_size = -1, .m_methods = methods };

PyMODINIT_FUNC PyInit_hostsim(void)
{
	pm = PyCapsule_Import("pymigrate.capi._C_API", 0);
	if (!pm)
		return NULL;
	/* Another MAJOR may mean another thing by the same member; what we use must be there. */
	if (pm->abi >> 16 != PM_ABI_MAJOR || pm->bytes < sizeof(*pm)) {
		PyErr_SetString(PyExc_ImportError, "hostsim was compiled against another pymigrate");
		return NULL;
	}
	return PyModule_Create(&module);
}
