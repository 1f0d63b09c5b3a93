#include "audit/audit.h"

int main(int argc, char **argv)
{
    return fl_cli_main("cordon-audit", "checks privacy-budget ledgers and believes nobody", audit_commands, argc, argv,
                       NULL);
}
