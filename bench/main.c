#include "bench/bench.h"

static const fl_cli_command commands[] = {
    {"train", "", "steps of training in a second, with and without privacy", bench_train_options, 0, 0, bench_train,
     NULL},
    {"predict", "", "predictions in a second", bench_predict_options, 0, 0, bench_predict, NULL},
    {"noise", "", "draws of the discrete Gaussian in a second", bench_noise_options, 0, 0, bench_noise, NULL},
    {"accountant", "", "Renyi curve and certified bounds of a schedule", bench_accountant_options, 0, 0,
     bench_accountant, NULL},
    {"layers", "", "rates of a model's convolutions and linear layers on one core", bench_layers_options, 0, 0,
     bench_layers, NULL},
    {0},
};

int main(int argc, char **argv)
{
    return fl_cli_main("cordon-bench", "how fast this machine is, one JSON line per run", commands, argc, argv, NULL);
}
