#include "train/loss.h"
#include <assert.h>
#include <math.h>

double nn_loss_softmax(float *d, const float *y, uint32_t n, uint32_t label, const float *class_weights)
{
    assert(label < n);
    double largest = y[0], of_label = y[label], sum = 0, weight = class_weights ? class_weights[label] : 1;
    for (uint32_t c = 1; c < n; c++)
        largest = y[c] > largest ? y[c] : largest;
    for (uint32_t c = 0; c < n; c++)
        sum += exp(y[c] - largest);
    for (uint32_t c = 0; c < n; c++)
        d[c] = (float)(weight * (exp(y[c] - largest) / sum - (c == label)));
    return weight * ((largest - of_label) + log(sum));
}

double nn_logistic(double y)
{
    double small = exp(-fabs(y)); /* at most 1 */
    return y >= 0 ? 1 / (1 + small) : small / (1 + small);
}

double nn_loss_binary(float *d, const float *y, uint32_t n, uint32_t set, const float *class_weights)
{
    assert(n <= 32);
    double loss = 0;
    for (uint32_t c = 0; c < n; c++) {
        double weight = (class_weights ? class_weights[c] : 1.0) / n;
        uint32_t t = set >> c & 1;
        double wrong = t ? -(double)y[c] : (double)y[c]; /* log(1 + exp(wrong)) is the loss, its logistic the slope */
        loss += weight * ((wrong > 0 ? wrong : 0) + log1p(exp(-fabs(wrong))));
        d[c] = (float)(weight * (t ? -nn_logistic(wrong) : nn_logistic(wrong)));
    }
    return loss;
}

double nn_loss_squares(float *d, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)y[i] * y[i];
        d[i] = y[i];
    }
    return sum / 2;
}
