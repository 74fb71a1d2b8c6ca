/* The functions of libm, which is loaded when one of them is called.
 *
 * No usual verb calculates with fractions, but the interpreter refers to libm, and the dynamic
 * linker would open, map and relocate it at every start. So the interpreter's references end here.
 * Addresses in libm are kept nowhere: in an image they would be those of another process (audit.c).
 *
 * Security: init and the processes of exec call forbid_libm before they enter a container, whose
 * root may hold a libm of its own. What Python's time limits need does without the library.
 *
 * Source: dlopen(3), dlsym(3), math(7).
 */

#define _GNU_SOURCE
#include "../launcher.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>

#define INTEGERS 0x1p52 /* from here on, a double has no fraction */

int forbid_libm(void);

static bool forbidden;

/* Load nothing from here on; a function that would need it ends the process. Returns 0. */
int forbid_libm(void)
{
    forbidden = true;
    return 0;
}

/* Return the address of a function. errno stays: Python asks it whether the result is one. */
static void *find(const char *name)
{
    const int before = errno;
    void *library = forbidden ? NULL : dlopen("libm.so.6", RTLD_NOW);
    void *found = library ? dlsym(library, name) : NULL;

    if (!found)
        fail("the function %s cannot be loaded: %s", name,
             forbidden ? "this process enters a container" : dlerror());
    errno = before;
    return found;
}

#define OF_ONE(name) \
    double name(double x) { return ((double (*)(double))find(#name))(x); }
#define OF_TWO(name) \
    double name(double x, double y) { return ((double (*)(double, double))find(#name))(x, y); }

OF_ONE(acos) OF_ONE(acosh) OF_ONE(asin) OF_ONE(asinh) OF_ONE(atan) OF_ONE(atanh) OF_ONE(cbrt)
OF_ONE(cos) OF_ONE(cosh) OF_ONE(erf) OF_ONE(erfc) OF_ONE(exp) OF_ONE(exp2) OF_ONE(expm1)
OF_ONE(log) OF_ONE(log10) OF_ONE(log1p) OF_ONE(log2) OF_ONE(sin) OF_ONE(sinh) OF_ONE(sqrt)
OF_ONE(tan) OF_ONE(tanh)
OF_TWO(atan2) OF_TWO(fmod) OF_TWO(hypot) OF_TWO(nextafter) OF_TWO(pow)

double fma(double x, double y, double z) /* Python 3.13 */
{
    return ((double (*)(double, double, double))find("fma"))(x, y, z);
}

void sincos(double x, double *sine, double *cosine)
{
    ((void (*)(double, double *, double *))find("sincos"))(x, sine, cosine);
}

double floor(double x)
{
    double whole;

    if (!(fabs(x) < INTEGERS)) /* not a number, neither */
        return x;
    whole = (double)(long long)x;
    return copysign(whole > x ? whole - 1 : whole, x);
}

double ceil(double x)
{
    double whole;

    if (!(fabs(x) < INTEGERS))
        return x;
    whole = (double)(long long)x;
    return copysign(whole < x ? whole + 1 : whole, x);
}

double round(double x)
{
    double whole;

    if (!(fabs(x) < INTEGERS))
        return x;
    whole = (double)(long long)x;
    return copysign(fabs(x - whole) < 0.5 ? whole : whole + copysign(1, x), x);
}
