package fsm

var clusterKinds = []KindEntry{}
