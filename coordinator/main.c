#include "coordinator/commands.h"

int main(int argc, char **argv)
{
    coord_caller caller = {.argc = argc, .argv = argv};
    return fl_cli_main(COORD_PROGRAM, "Runs studies for a consortium of hospitals.", coord_commands, argc, argv,
                       &caller);
}
