    if (lane > p.cols || lane < p.rows) sum = mask_window;
